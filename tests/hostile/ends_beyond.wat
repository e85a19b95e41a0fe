;; The last row ends beyond the data.
;; verdict: blamed broke its contract
(func $evil (param $rows i32) (param $columns i32)
  (i32.store offset=8 (local.get $columns) (i32.sub (i32.load offset=8 (local.get $columns)) (i32.const 1))))
