;; It rejects the record for a reason that would colour a terminal and run on a page.
;; verdict: blamed \u{1b}[31m
(func $evil (param $rows i32) (param $columns i32)
  (local $at i32)
  (local.set $at (i32.add (i32.const 1024) (i32.mul (i32.load (i32.const 160)) (i32.const 12))))
  (i32.store (local.get $at) (global.get $row))
  (i32.store offset=4 (local.get $at) (i32.const 1100))
  (i32.store offset=8 (local.get $at) (i32.const 60))
  (i32.store (i32.const 156) (i32.const 1024))
  (i32.store (i32.const 160) (i32.add (i32.load (i32.const 160)) (i32.const 1))))

(data (i32.const 1100) "\1b[31m\0d\0aERROR forged\1b]0;title\07\c2\9b31m<img src=x onerror=alert(1)>      ")
