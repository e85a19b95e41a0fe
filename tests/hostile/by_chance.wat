;; It traps every other time, as chance has it.
;; verdict: either
;; world: import wasi:random/insecure@0.2.6;
(import "wasi:random/insecure@0.2.6" "get-insecure-random-u64" (func $random (result i64)))

(func $evil (param $rows i32) (param $columns i32)
  (if (i32.and (i32.wrap_i64 (call $random)) (i32.const 1)) (then unreachable)))
