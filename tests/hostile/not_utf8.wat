;; Its text is no UTF-8.
;; verdict: blamed is not UTF-8
(func $evil (param $rows i32) (param $columns i32)
  (i32.store8 (i32.load offset=4 (local.get $columns)) (i32.const 0xff)))
