;; It writes `did` or `die`, as chance has it, at each start.
;; verdict: either
;; world: import wasi:random/insecure@0.2.6;
(import "wasi:random/insecure@0.2.6" "get-insecure-random-u64" (func $random (result i64)))

(func $born
  (if (i32.and (i32.wrap_i64 (call $random)) (i32.const 1)) (then (i32.store8 (i32.const 26) (i32.const 0x65)))))
