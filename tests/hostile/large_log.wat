;; It logs one line of 15 MiB, again and again.
;; verdict: either
;; world: import wasi:logging/logging@0.1.0-draft;
;; limits: memory=64MiB
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))

(func $evil (param $rows i32) (param $columns i32)
  (loop $more
    (call $log (i32.const 2) (i32.const 24) (i32.const 3) (i32.const 0) (i32.const 15000000))
    (br $more)))

(memory $memory (export "memory") 250)
