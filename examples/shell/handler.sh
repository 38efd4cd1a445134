#!/bin/sh
# A program that runs once for each request, as CGI has it: variables and standard input in, standard output out.
# hostel invoke shell --path '/?name=Ada'

name=$(echo "$QUERY_STRING" | tr '&' '\n' | sed -n 's/^name=//p')
echo "$REQUEST_METHOD for ${name:-world}" >&2 # standard error is the log

printf 'Content-Type: application/json\n\n'
jq -n --arg name "${name:-world}" '{ message: "Hello, \($name)!", kernel: $kernel }' --arg kernel "$(uname -sr)"
