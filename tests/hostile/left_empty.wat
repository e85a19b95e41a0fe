;; It leaves a field empty that the contract says is there.
;; verdict: blamed left `did` empty
(func $evil (param $rows i32) (param $columns i32)
  (local $count i32)
  (local.set $count (i32.load offset=24 (local.get $columns)))
  (i32.store (i32.add (i32.const 1024) (i32.shl (local.get $count) (i32.const 2))) (global.get $row))
  (i32.store offset=20 (local.get $columns) (i32.const 1024))
  (i32.store offset=24 (local.get $columns) (i32.add (local.get $count) (i32.const 1))))
