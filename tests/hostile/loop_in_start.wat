;; It never comes back from `start`.
;; verdict: refused does not start: ran for more than
(func $born (loop $for_ever (br $for_ever)))
