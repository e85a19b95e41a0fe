;; It traps where it finds a variable of the environment, which it does not.
;; verdict: harmless
;; world: import wasi:cli/environment@0.2.6;
(import "wasi:cli/environment@0.2.6" "get-environment" (func $environment (param i32)))

(func $evil (param $rows i32) (param $columns i32)
  (call $environment (i32.const 1024))
  (if (i32.load (i32.const 1028)) (then unreachable)))
