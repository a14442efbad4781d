package datatype

import "math"

// Glob reports whether s matches pattern, with Redis' rules: '*', '?', '[a-z]', '[^x]', and '\' before a
// character that stands for itself. It remembers only the last '*' (an earlier one never needs to be tried
// again once a later one was reached), so the work is bounded by len(pattern)*len(s) for any pattern. As in
// Redis, the empty string matches a lone '*', but no other pattern that isn't empty.
func Glob(pattern, s []byte) bool {
	steps := math.MaxInt
	match, _ := GlobWithin(pattern, s, &steps)
	return match
}

// GlobWithin is Glob that takes the bytes of the pattern that it looks at from steps, and gives up where there are none left:
// then whole is false.
func GlobWithin(pattern, s []byte, steps *int) (match, whole bool) {
	if len(s) == 0 {
		return len(pattern) == 0 || string(pattern) == "*", true
	}
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		if *steps <= 0 {
			return false, false
		}
		*steps--
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, i
			p++
			continue
		}
		if p < len(pattern) {
			next, ok := globOne(pattern, p, s[i])
			*steps -= next - p - 1
			if ok {
				p = next
				i++
				continue
			}
		}
		if star < 0 {
			return false, true
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern), true
}

// globOne matches c with the element of the pattern at p, which is not '*', and returns the position behind
// that element.
func globOne(pattern []byte, p int, c byte) (int, bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return globClass(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// globClass matches c with a class whose first character is at p. A class that never ends reaches to the
// end of the pattern, and a ']' right behind the '[' ends an empty one, both as in Redis.
func globClass(pattern []byte, p int, c byte) (int, bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	match := false
	for p < len(pattern) && pattern[p] != ']' {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			match = match || pattern[p] == c
			p++
		case p+2 < len(pattern) && pattern[p+1] == '-':
			low, high := pattern[p], pattern[p+2]
			if low > high {
				low, high = high, low
			}
			match = match || c >= low && c <= high
			p += 3
		default:
			match = match || pattern[p] == c
			p++
		}
	}
	return min(p+1, len(pattern)), match != not
}

// GlobPrefix returns the bytes that every match of pattern starts with, so that a scan can be a range, and
// whether the pattern is nothing more than that prefix and one '*'. The prefix is part of the pattern and
// ends at its first special character, an escape included.
func GlobPrefix(pattern []byte) (prefix []byte, only bool) {
	for i, c := range pattern {
		switch c {
		case '*':
			return pattern[:i], i == len(pattern)-1
		case '?', '[', '\\':
			return pattern[:i], false
		}
	}
	return pattern, false
}
