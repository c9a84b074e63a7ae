export ATB_HOME_PATH=/usr/local/Ascend/nnal/atb/latest/atb/cxx_abi_0
export LD_LIBRARY_PATH=$ATB_HOME_PATH/lib:${LD_LIBRARY_PATH:-}
