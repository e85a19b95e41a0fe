;; It waits for an hour.
;; verdict: blamed waits for something, which its stage is not granted
;; world: import wasi:clocks/monotonic-clock@0.2.6;
;; world: import wasi:io/poll@0.2.6;
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe (param i64) (result i32)))
(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))

(func $evil (param $rows i32) (param $columns i32)
  (call $block (call $subscribe (i64.const 3600000000000))))
