;; It never comes back.
;; verdict: blamed ran for more than 100 ms of CPU time
(func $evil (param $rows i32) (param $columns i32)
  (loop $for_ever (br $for_ever)))
