;; It calls itself without end.
;; verdict: blamed call stack exhausted
(func $evil (param $rows i32) (param $columns i32)
  (call $deeper (i64.const 0)))

(func $deeper (param $depth i64)
  (call $deeper (i64.add (local.get $depth) (i64.const 1)))
  (drop (i64.add (local.get $depth) (i64.const 1))))
