;; It gives each evil record another key, while it runs: the topic's own is as it was, and so is the row.
;; verdict: harmless
(data (i32.const 64) "\00\00\00\00\00\01\00\00\02\00\00\00\20\01\00\00\02\00\00\00")

;; Reads `do` and `@key`, writes `did` and `@key`.
(data (i32.const 256) "\10\00\00\00\02\00\00\00\00\00\00\00\40\01\00\00\04\00\00\00\01\01\00\00")

(data (i32.const 288) "\18\00\00\00\03\00\00\00\00\00\00\00\40\01\00\00\04\00\00\00\01\01\00\00")

(data (i32.const 320) "@key")

(func $evil (param $rows i32) (param $columns i32)
  (local $keys i32)
  (local $from i32)
  (local.set $keys (i32.add (local.get $columns) (i32.const 28)))
  (if (global.get $row) (then (local.set $from (call $end (local.get $keys) (i32.sub (global.get $row) (i32.const 1))))))
  (i32.store8 (i32.add (i32.load offset=4 (local.get $keys)) (local.get $from)) (i32.const 0x58)))
