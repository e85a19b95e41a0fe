;; It drops a row and deletes it.
;; verdict: blamed has two outcomes
(func $evil (param $rows i32) (param $columns i32)
  (i32.store (i32.const 1024) (global.get $row))
  (i32.store (i32.const 140) (i32.const 1024))
  (i32.store (i32.const 144) (i32.const 1))
  (i32.store (i32.const 148) (i32.const 1024))
  (i32.store (i32.const 152) (i32.const 1)))
