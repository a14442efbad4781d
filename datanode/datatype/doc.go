// Package datatype holds the types that commands work on: strings, hashes and sorted sets on the rows of a
// store transaction, keys with their expiry, and the parsing and printing of numbers, patterns and ranges
// that all of them share. It knows nothing of the Redis protocol.
package datatype
