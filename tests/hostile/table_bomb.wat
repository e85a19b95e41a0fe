;; It grows its table for as long as it can, then runs into a wall.
;; verdict: blamed unreachable
(func $evil (param $rows i32) (param $columns i32)
  (block $full
    (loop $more
      (br_if $full (i32.eq (table.grow $table (ref.null func) (i32.const 10000)) (i32.const -1)))
      (br $more)))
  unreachable)

(table $table 1 funcref)
