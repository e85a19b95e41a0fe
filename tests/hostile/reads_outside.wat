;; It reads outside of its memory.
;; verdict: blamed out of bounds
(func $evil (param $rows i32) (param $columns i32)
  (drop (i32.load (i32.const 0x7ffffff0))))
