;; It returns a list that lies outside of its memory.
;; verdict: blamed 
(func $evil (param $rows i32) (param $columns i32)
  (i32.store (i32.const 132) (i32.const 0x7ffffff0)))
