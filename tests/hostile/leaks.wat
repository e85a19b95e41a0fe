;; It grows by 1 MiB with every evil record, and keeps it.
;; verdict: harmless
(func $evil (param $rows i32) (param $columns i32)
  (drop (memory.grow (i32.const 16))))
