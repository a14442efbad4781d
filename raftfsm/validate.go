package raftfsm

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/ident"
)

// The bounds of what callers name, in bytes.
const (
	NameBytesMax  = 255
	LabelBytesMax = 128
	AddrBytesMax  = 255
	HashBytes     = 32 // HMAC-SHA-256
)

// DefaultNamespace is the name of the namespace that InitCluster makes.
const DefaultNamespace = "__namespace"

// ValidateName checks the name of a namespace that a caller wants to create: 1 to NameBytesMax bytes of
// UTF-8 without spaces, '/', and control and format characters (which can't be seen); not "*" or
// "default", which stand for all of them in NAMESPACE GET and AUTH, not "." or "..", and not starting with
// "__", which is reserved.
func ValidateName(name string) *Error {
	switch {
	case name == "":
		return refuse(CodeInvalid, "name", "name is empty: it takes 1 to %d bytes", NameBytesMax)
	case len(name) > NameBytesMax:
		return refuse(CodeInvalid, "name", "name is %d bytes long: it takes 1 to %d bytes", len(name), NameBytesMax)
	case !utf8.ValidString(name):
		return refuse(CodeInvalid, "name", "name is not valid UTF-8")
	case strings.HasPrefix(name, "__"):
		return refuse(CodeInvalid, "name", `name starts with "__", which is reserved`)
	case strings.Contains(name, "/"):
		return refuse(CodeInvalid, "name", "name contains '/'")
	case name == "*":
		return refuse(CodeInvalid, "name", `name is "*", which stands for all of them`)
	case name == "default":
		return refuse(CodeInvalid, "name", `name is "default", which in AUTH stands for any namespace`)
	case name == "." || name == "..":
		return refuse(CodeInvalid, "name", "name is a dot or two: an HTTP path can't hold it")
	}
	for _, r := range name {
		switch {
		case unicode.IsControl(r) || isSpace(r): // the control characters never change
			return refuse(CodeInvalid, "name", "name contains a space or a control character")
		case isFormat(r):
			return refuse(CodeInvalid, "name", "name contains the format character %U, which can't be seen", r)
		case r == unicode.ReplacementChar:
			return replaced("name")
		}
	}
	return nil
}

// replaced refuses a text that a decoder has mended: it is not what the caller meant.
func replaced(field string) *Error {
	return refuse(CodeInvalid, field, "%s contains U+FFFD, which stands for bytes that were not UTF-8", field)
}

// validateID checks an id that an operator, a node or a proposer made.
func validateID(field, id string) *Error {
	if err := ident.Check(id); err != nil {
		return refuse(CodeInvalid, field, "%s %v", field, err)
	}
	return nil
}

// validateText checks a free text such as a label or a version.
func validateText(field, text string, bytesMax int) *Error {
	if len(text) > bytesMax {
		return refuse(CodeInvalid, field, "%s is %d bytes long: it takes at most %d bytes", field, len(text), bytesMax)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return refuse(CodeInvalid, field, "%s has control characters or is not valid UTF-8", field)
	}
	if strings.ContainsRune(text, unicode.ReplacementChar) {
		return replaced(field)
	}
	return nil
}

// validateAddr checks an address that others dial: a host, with brackets around it if it has colons, and
// a port.
func validateAddr(field, addr string) *Error {
	i := strings.LastIndexByte(addr, ':')
	host, forbidden := addr[:max(i, 0)], ":[]/ "
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host, forbidden = host[1:len(host)-1], "[]/ "
	}
	port, err := strconv.ParseUint(addr[i+1:], 10, 16)
	if err != nil || port == 0 || host == "" || strings.ContainsAny(host, forbidden) {
		return refuse(CodeInvalid, field, "%s %q is not host:port", field, addr)
	}
	return validateText(field, addr, AddrBytesMax)
}

// ValidateDurability checks that this version offers a durability; unspecified stands for async.
func ValidateDurability(d atollpb.Durability) *Error {
	switch d {
	case atollpb.Durability_DURABILITY_UNSPECIFIED, atollpb.Durability_DURABILITY_ASYNC,
		atollpb.Durability_DURABILITY_LOCAL:
		return nil
	case atollpb.Durability_DURABILITY_REPLICATED, atollpb.Durability_DURABILITY_DURABLE:
		return refuse(CodeInvalid, "durability", "durability replicated and durable are not available in this version: use async or local")
	}
	return refuse(CodeInvalid, "durability", "durability %d is unknown: use async or local", d)
}
