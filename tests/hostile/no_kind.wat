;; Its column is of a kind that there is not.
;; verdict: blamed 
(func $evil (param $rows i32) (param $columns i32)
  (i32.store8 (local.get $columns) (i32.const 200)))
