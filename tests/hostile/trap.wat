;; It runs into a wall.
;; verdict: blamed unreachable
(func $evil (param $rows i32) (param $columns i32)
  unreachable)
