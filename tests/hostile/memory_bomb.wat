;; It grows its memory for as long as it can.
;; verdict: blamed asked for more than 16 MiB of memory
(func $evil (param $rows i32) (param $columns i32)
  (loop $more
    (drop (memory.grow (i32.const 1)))
    (br $more)))
