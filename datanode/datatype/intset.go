package datatype

import (
	"encoding/binary"
	"slices"
)

// intsetWidth is how many bytes each member of a set takes as a number, 0 if one of them is none.
func intsetWidth(s *Set) (width int) {
	width = 2
	s.Each(func(member []byte) bool {
		v, ok := ParseInt(member)
		switch {
		case !ok:
			width = 0
		case v != int64(int32(v)):
			width = 8
		case v != int64(int16(v)):
			width = max(width, 4)
		}
		return ok
	})
	return width
}

// intset is Redis' form of a set of numbers: width (4), how many (4), the numbers in ascending order, all in little endian.
func intset(s *Set, width int) []byte {
	numbers := make([]int64, 0, s.Len())
	s.Each(func(member []byte) bool {
		v, _ := ParseInt(member)
		numbers = append(numbers, v)
		return true
	})
	slices.Sort(numbers)
	b := binary.LittleEndian.AppendUint32(nil, uint32(width))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(numbers)))
	for _, v := range numbers {
		for i := range width {
			b = append(b, byte(v>>(8*i)))
		}
	}
	return b
}
