# embed.cmake: a file's bytes as C source, so that the program needs no file beside it.
#   cmake -DINPUT=FILE -DOUTPUT=FILE.c -DHEADER=net/NAME.h -DNAME=NAME -P embed.cmake
# defines, as HEADER declares:  const unsigned char NAME[];  const size_t NAME_bytes;
file(READ ${INPUT} bytes HEX)
if(bytes STREQUAL "")
  message(FATAL_ERROR "${INPUT} is empty")
endif()
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
string(REPEAT "0x..," 16 row)
string(REGEX REPLACE "(${row})" "\\1\n" bytes "${bytes}")
get_filename_component(from ${INPUT} NAME)
file(WRITE ${OUTPUT} "/* Made from ${from} by cmake/embed.cmake: edit that. */
#include \"${HEADER}\"

const unsigned char ${NAME}[] = {
${bytes}};
const size_t ${NAME}_bytes = sizeof ${NAME};
")
