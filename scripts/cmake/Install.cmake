# What `cmake --install` puts where; scripts/install does the rest.  systemd looks below /usr/local/lib too.
include(GNUInstallDirs)
configure_file(scripts/system/proxzzyd.service.in system/proxzzyd.service @ONLY)

install(TARGETS proxzzyd DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS proxzzyctl DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${CMAKE_BINARY_DIR}/system/proxzzyd.service DESTINATION lib/systemd/system)
install(FILES scripts/system/proxzzy.sysusers DESTINATION lib/sysusers.d RENAME proxzzy.conf)
install(FILES scripts/system/proxzzy.tmpfiles DESTINATION lib/tmpfiles.d RENAME proxzzy.conf)
foreach(program proxzzyctl proxzzyd) # bash looks for a file of the command's name
  install(FILES scripts/system/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    RENAME ${program})
endforeach()
install(FILES scripts/system/completion.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _proxzzy)
install(DIRECTORY docs/examples DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(section 1 5 8)
  file(GLOB pages CONFIGURE_DEPENDS docs/man/*.${section})
  install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
