;; The ends of its rows go backwards.
;; verdict: blamed broke its contract
(func $evil (param $rows i32) (param $columns i32)
  (i32.store (i32.load offset=12 (local.get $columns)) (i32.const 0x00ffffff)))
