# The target `torch`, from find_package(Torch) or from the folder of an installed PyTorch (CKVSIM_TORCH_ROOT). The package
# file of a PyTorch that was built with CUDA asks for nvcc and the whole toolkit, which a program that only calls libtorch
# needs neither to compile nor to run; a GPU node often has the PyTorch and not the toolkit.
set(CKVSIM_TORCH_ROOT "" CACHE PATH "Folder of an installed PyTorch, .../site-packages/torch; empty: find_package(Torch)")
set(CKVSIM_TORCH_CUDA AUTO CACHE STRING "Link the CUDA part of CKVSIM_TORCH_ROOT: ON, OFF or AUTO (where it is)")
set_property(CACHE CKVSIM_TORCH_CUDA PROPERTY STRINGS ON OFF AUTO)

# ckvsim_torch_of_folder(root): `torch` from the headers and libraries of that folder.
function(ckvsim_torch_of_folder root)
  foreach(file include/ATen/ATen.h lib/libtorch_cpu.so lib/libc10.so)
    if(NOT EXISTS "${root}/${file}")
      message(FATAL_ERROR "CKVSIM_TORCH_ROOT=${root} has no ${file}; give the folder that `python3 -c \"import torch; print(torch.__path__[0])\"` names")
    endif()
  endforeach()
  set(libraries "${root}/lib/libtorch_cpu.so" "${root}/lib/libc10.so")
  set(cuda "${root}/lib/libtorch_cuda.so")
  if(CKVSIM_TORCH_CUDA STREQUAL "ON" AND NOT EXISTS "${cuda}")
    message(FATAL_ERROR "CKVSIM_TORCH_CUDA=ON but ${cuda} is not there: this PyTorch was built for the CPU alone")
  endif()
  if(EXISTS "${cuda}" AND NOT CKVSIM_TORCH_CUDA STREQUAL "OFF")
    # Nothing calls it by name: it registers its operations when it is loaded.
    list(PREPEND libraries "-Wl,--no-as-needed" "${cuda}" "${root}/lib/libc10_cuda.so" "-Wl,--as-needed")
  endif()
  add_library(torch INTERFACE IMPORTED GLOBAL)
  target_include_directories(torch INTERFACE "${root}/include" "${root}/include/torch/csrc/api/include")
  # Its libraries find each other, and NVIDIA's beside them, when they are loaded; the linker need not.
  target_link_libraries(torch INTERFACE ${libraries} "-Wl,--allow-shlib-undefined")
endfunction()

# ckvsim_find_torch(found): sets `found` to true where `torch` can be linked.
function(ckvsim_find_torch found)
  if(CKVSIM_TORCH_ROOT)
    if(NOT TARGET torch)
      ckvsim_torch_of_folder("${CKVSIM_TORCH_ROOT}")
    endif()
    set(${found} TRUE PARENT_SCOPE)
    return()
  endif()
  find_package(Torch QUIET)
  set(${found} ${Torch_FOUND} PARENT_SCOPE)
endfunction()
