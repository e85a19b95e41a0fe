;; It logs twenty thousand lines about one record.
;; verdict: harmless
;; world: import wasi:logging/logging@0.1.0-draft;
;; limits: batch-time=20s
;; logged: 64 128  info did stage=guest context=did
;; logged: 1 2 more lines of this call are not shown
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))

(func $evil (param $rows i32) (param $columns i32)
  (local $count i32)
  (loop $more
    (call $log (i32.const 2) (i32.const 24) (i32.const 3) (i32.const 24) (i32.const 3))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $count) (i32.const 20000)))))
