;; It drops a row that there is not.
;; verdict: blamed broke its contract
(func $evil (param $rows i32) (param $columns i32)
  (i32.store (i32.const 1024) (i32.const -1))
  (i32.store (i32.const 140) (i32.const 1024))
  (i32.store (i32.const 144) (i32.const 1)))
