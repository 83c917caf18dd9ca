"""Many videos, or long ones, on many processes or machines.

Each video is cut at keyframes of its own compression (:mod:`.plan`); the pieces are work for
whoever is free (:mod:`.board`), here (:mod:`.local`) or in a Ray cluster (:mod:`.cluster`), and are
joined without coding them again (:mod:`.join`). What is done stands in a manifest
(:mod:`.manifest`), so that the same call goes on where one was broken off.
"""
