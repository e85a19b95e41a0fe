;; It returns a list whose length passes four GiB.
;; verdict: blamed 
(func $evil (param $rows i32) (param $columns i32)
  (i32.store (i32.const 136) (i32.const 0xffffffff)))
