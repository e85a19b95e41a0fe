;; The honest part of every guest here: it copies the field `do` into the field `did`. A guest adds to it, or says a paragraph anew.
;; A result is made at 128; strings and lists of the host lie from 4096 on until the call is over.

(memory $memory (export "memory") 2)

(global $heap (mut i32) (i32.const 4096))

;; The row that says `evil`.
(global $row (mut i32) (i32.const 0))

(data (i32.const 16) "do")

(data (i32.const 24) "did")

;; The contract: reads `do`, writes `did`, both text.
(data (i32.const 32) "\10\00\00\00\02\00\00\00\00\00\00\00")

(data (i32.const 48) "\18\00\00\00\03\00\00\00\00\00\00\00")

(data (i32.const 64) "\00\00\00\00\20\00\00\00\01\00\00\00\30\00\00\00\01\00\00\00")

;; What it does in `start`.
(func $born)

;; What it does to a batch for each evil row, when the result is made.
(func $evil (param $rows i32) (param $columns i32))

(func $realloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
  (global.set $heap (i32.add (local.get $at) (local.get $new)))
  (block $fits
    (loop $grow
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
      unreachable))
  (local.get $at))

(func $start (export "tidemill:plugin/fields@0.1.0#start") (result i32)
  (call $born)
  (i32.const 64))

(func $process (export "tidemill:plugin/fields@0.1.0#process") (param $rows i32) (param $columns i32) (param $count i32) (result i32)
  (local $from i32)
  (memory.fill (i32.const 128) (i32.const 0) (i32.const 64))
  (i32.store (i32.const 132) (local.get $columns))
  (i32.store (i32.const 136) (local.get $count))
  (global.set $row (i32.const 0))
  (block $none
    (loop $next
      (br_if $none (i32.ge_u (global.get $row) (local.get $rows)))
      (local.set $from (i32.const 0))
      (if (global.get $row) (then (local.set $from (call $end (local.get $columns) (i32.sub (global.get $row) (i32.const 1))))))
      (if (i32.eq (i32.sub (call $end (local.get $columns) (global.get $row)) (local.get $from)) (i32.const 4))
        (then
          (if (i32.eq (i32.load (i32.add (i32.load offset=4 (local.get $columns)) (local.get $from))) (i32.const 0x6c697665))
            (then (call $evil (local.get $rows) (local.get $columns))))))
      (global.set $row (i32.add (global.get $row) (i32.const 1)))
      (br $next)))
  (i32.const 128))

;; Where a row of the first column ends.
(func $end (param $columns i32) (param $row i32) (result i32)
  (i32.load (i32.add (i32.load offset=12 (local.get $columns)) (i32.shl (local.get $row) (i32.const 2)))))

(func $over (export "cabi_post_tidemill:plugin/fields@0.1.0#process") (param i32)
  (global.set $heap (i32.const 4096)))
