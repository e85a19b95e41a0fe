;; Its column has one row too few.
;; verdict: blamed broke its contract
(func $evil (param $rows i32) (param $columns i32)
  (i32.store offset=16 (local.get $columns) (i32.sub (local.get $rows) (i32.const 1))))
