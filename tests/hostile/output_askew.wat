;; It returns a list at an odd address.
;; verdict: blamed 
(func $evil (param $rows i32) (param $columns i32)
  (i32.store (i32.const 132) (i32.const 4097)))
