;; It divides by zero.
;; verdict: blamed divide by zero
(func $evil (param $rows i32) (param $columns i32)
  (drop (i32.div_u (i32.const 1) (i32.const 0))))
