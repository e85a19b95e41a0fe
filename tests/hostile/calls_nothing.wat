;; It calls through an empty place of a table.
;; verdict: blamed 
(func $evil (param $rows i32) (param $columns i32)
  (call_indirect $table (i32.const 0)))

(table $table 1 funcref)
