;; It returns a million columns, which are all the same few bytes.
;; verdict: blamed hands over more than 1 MiB in one call
;; limits: memory=64MiB batch-time=10s output=1MiB
(func $evil (param $rows i32) (param $columns i32)
  (local $at i32)
  (i32.store (i32.const 132) (i32.const 65536))
  (i32.store (i32.const 136) (i32.const 1000000))
  (loop $next
    (memory.copy (i32.add (i32.const 65536) (local.get $at)) (local.get $columns) (i32.const 28))
    (local.set $at (i32.add (local.get $at) (i32.const 28)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 28000000)))))

(memory $memory (export "memory") 500)
