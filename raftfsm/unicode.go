package raftfsm

// runes is a range of code points, both ends included.
type runes struct{ first, last rune }

// The tables are frozen, those of Unicode 15: every node has to decide alike, also when a newer Go, with newer
// tables in its unicode package, has built some of them. A change of a table is a new version of the commands
// that use it.

// spaceRunes are the code points with the property White_Space.
var spaceRunes = [...]runes{
	{0x0009, 0x000d}, {0x0020, 0x0020}, {0x0085, 0x0085}, {0x00a0, 0x00a0}, {0x1680, 0x1680}, {0x2000, 0x200a},
	{0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
}

// formatRunes are those of the category Cf.
var formatRunes = [...]runes{
	{0x00ad, 0x00ad}, {0x0600, 0x0605}, {0x061c, 0x061c}, {0x06dd, 0x06dd}, {0x070f, 0x070f}, {0x0890, 0x0891},
	{0x08e2, 0x08e2}, {0x180e, 0x180e}, {0x200b, 0x200f}, {0x202a, 0x202e}, {0x2060, 0x2064}, {0x2066, 0x206f},
	{0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f},
	{0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0001, 0xe0001}, {0xe0020, 0xe007f},
}

func isSpace(r rune) bool { return inRunes(spaceRunes[:], r) }

func isFormat(r rune) bool { return inRunes(formatRunes[:], r) }

func inRunes(table []runes, r rune) bool {
	for _, t := range table {
		if t.first <= r && r <= t.last {
			return true
		}
	}
	return false
}
