;; It names a row as null that there is not.
;; verdict: blamed broke its contract
(func $evil (param $rows i32) (param $columns i32)
  (i32.store offset=20 (local.get $columns) (i32.const 1024))
  (i32.store offset=24 (local.get $columns) (i32.const 1))
  (i32.store (i32.const 1024) (local.get $rows)))
