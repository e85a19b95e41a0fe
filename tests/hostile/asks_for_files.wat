;; It traps where it finds a directory, which it does not.
;; verdict: harmless
;; world: import wasi:filesystem/preopens@0.2.6;
(import "wasi:filesystem/preopens@0.2.6" "get-directories" (func $directories (param i32)))

(func $evil (param $rows i32) (param $columns i32)
  (call $directories (i32.const 1024))
  (if (i32.load (i32.const 1028)) (then unreachable)))
