// Package ident holds the rule of ids: of nodes, which operators choose, and of what nodes make themselves.
// The configuration checks it before anything is written, and the state machine before anything is kept.
package ident

import (
	"errors"
	"fmt"
)

// BytesMax bounds an id.
const BytesMax = 64

// Check returns what is wrong with an id, as the end of a sentence that begins with its field: an id takes
// 1 to BytesMax of [A-Za-z0-9._-], and is not "." or "..", which an HTTP path can't hold.
func Check(id string) error {
	if id == "" || len(id) > BytesMax {
		return fmt.Errorf("is %d bytes long: it takes 1 to %d bytes", len(id), BytesMax)
	}
	if id == "." || id == ".." {
		return errors.New("is a dot or two: an HTTP path can't hold it")
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return errors.New("takes letters, digits, '.', '_' and '-' only")
		}
	}
	return nil
}
