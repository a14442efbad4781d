package datatype

// putItems inserts values at an offset of the packed list in p, in their order or, in reverse, the last one first.
// p is changed in place and grown.
func putItems(p []byte, at int, reverse bool, values ...[]byte) []byte {
	n, _ := packedCount(p)
	room := itemsSize(values)
	p = splice(p, at, at, room)
	end := at + room
	for _, v := range values {
		size := chunkSize(len(v))
		if reverse {
			end -= size
			appendChunk(p[end:end:end+size], v)
		} else {
			appendChunk(p[at:at:at+size], v)
			at += size
		}
	}
	setPackedCount(p, n+len(values))
	return p
}

// itemsSize is what the values take in a packed list.
func itemsSize(values [][]byte) (size int) {
	for _, v := range values {
		size += chunkSize(len(v))
	}
	return size
}

// setItem replaces the element in p[from:to].
func setItem(p []byte, from, to int, value []byte) []byte {
	room := chunkSize(len(value))
	p = splice(p, from, to, room)
	appendChunk(p[from:from:from+room], value)
	return p
}

// cutItems removes the elements that equal value from the whole packed list in p: without the first skip of them,
// and at most limit.
func cutItems(p, value []byte, skip, limit int64) []byte {
	w := walkItems(p)
	end, left := packedHeader, 0
	for w.next() {
		if string(w.data) == string(value) {
			if skip--; skip < 0 && limit > 0 {
				limit--
				continue
			}
		}
		end += copy(p[end:], p[w.start:w.at]) // behind where the walk is
		left++
	}
	setPackedCount(p, left)
	return p[:end]
}
