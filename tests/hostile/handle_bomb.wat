;; It asks for one clock after another and keeps them all.
;; verdict: blamed handles
;; world: import wasi:clocks/monotonic-clock@0.2.6;
(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe (param i64) (result i32)))

(func $evil (param $rows i32) (param $columns i32)
  (loop $more
    (drop (call $subscribe (i64.const 1)))
    (br $more)))
