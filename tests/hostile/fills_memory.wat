;; It writes all of its memory, again and again.
;; verdict: blamed ran for more than 100 ms of CPU time
(func $evil (param $rows i32) (param $columns i32)
  (loop $more
    (memory.fill (i32.const 4096) (i32.const 7) (i32.const 15000000))
    (br $more)))

(memory $memory (export "memory") 230)
