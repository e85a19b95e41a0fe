;; It returns no column at all.
;; verdict: blamed broke its contract: 0 columns for 1 fields
(func $evil (param $rows i32) (param $columns i32)
  (i32.store (i32.const 136) (i32.const 0)))
