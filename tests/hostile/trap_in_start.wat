;; It traps in `start`.
;; verdict: refused does not start: trap
(func $born unreachable)
