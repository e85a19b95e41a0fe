;; It has seventy memories, each of which takes address space.
;; verdict: refused does not start
;; repeat 70: (memory 0)
