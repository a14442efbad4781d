package resp

// splitInline splits a line into words as Redis does: words end at white space, "..." takes \n, \r, \t,
// \b, \a, \xHH and \ before any byte, '...' takes \' alone. Quoted words are decoded in place, which
// never makes them longer. It appends from and to of each word to marks; ok is false when a quote isn't
// closed, or is closed inside a word.
func splitInline(line []byte, marks []int) ([]int, bool) {
	i := 0
	for {
		for i < len(line) && space(line[i]) {
			i++
		}
		if i >= len(line) || line[i] == 0 {
			return marks, true
		}
		from := i
		next, to, ok := inlineWord(line, i)
		if !ok {
			return marks, false
		}
		i = next
		marks = append(marks, from, to)
	}
}

// inlineWord decodes the word at i to where it starts, and returns the position behind the source and
// the end of the decoded word.
func inlineWord(line []byte, i int) (next, to int, ok bool) {
	to = i
	for i < len(line) && !space(line[i]) && line[i] != 0 {
		switch c := line[i]; c {
		case '"', '\'':
			if i, to, ok = inlineQuoted(line, i+1, to, c); !ok {
				return 0, 0, false
			}
			if i < len(line) && !space(line[i]) {
				return 0, 0, false
			}
			return i, to, true
		default:
			line[to] = c
			to++
			i++
		}
	}
	return i, to, true
}

// inlineQuoted decodes what follows an opening quote.
func inlineQuoted(line []byte, i, to int, quote byte) (next, end int, ok bool) {
	for i < len(line) && line[i] != 0 {
		c := line[i]
		switch {
		case c == quote:
			return i + 1, to, true
		case c == '\\' && quote == '"' && i+3 < len(line) && line[i+1] == 'x' && hex(line[i+2]) >= 0 && hex(line[i+3]) >= 0:
			c = byte(hex(line[i+2])<<4 | hex(line[i+3]))
			i += 4
		case c == '\\' && quote == '"' && i+1 < len(line):
			c = unescape(line[i+1])
			i += 2
		case c == '\\' && quote == '\'' && i+1 < len(line) && line[i+1] == '\'':
			c = '\''
			i += 2
		default:
			i++
		}
		line[to] = c
		to++
	}
	return 0, 0, false
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func space(c byte) bool {
	return c == ' ' || (c >= '\t' && c <= '\r')
}

// SplitInline splits an inline command into its words, as the server does. The line is overwritten; ok is false when
// its quotes don't match.
func SplitInline(line []byte) (words []string, ok bool) {
	marks, ok := splitInline(line, nil)
	for i := 0; i < len(marks); i += 2 {
		words = append(words, string(line[marks[i]:marks[i+1]]))
	}
	return words, ok
}
