;; It counts for about two seconds, and then comes back.
;; verdict: blamed ran for more than 100 ms of CPU time
(func $evil (param $rows i32) (param $columns i32)
  (local $count i64)
  (loop $on
    (local.set $count (i64.add (local.get $count) (i64.const 1)))
    (br_if $on (i64.lt_u (local.get $count) (i64.const 4000000000)))))
