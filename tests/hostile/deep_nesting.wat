;; Blocks in blocks in blocks, where recursion would end a compiler.
;; verdict: either
(func $deep
;; repeat 20000: block
;; repeat 20000: end
)
